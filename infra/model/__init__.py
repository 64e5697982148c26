"""What people write: requests, retired enrollments and settings, with their line numbers."""
