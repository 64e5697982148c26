"""The notice that a spot machine is taken back, on everybody's terminal."""
