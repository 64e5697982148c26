"""Who may enter: a roster is checked whole, then applied."""
