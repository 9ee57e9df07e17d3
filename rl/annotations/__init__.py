"""What a game's memory says: objects by name, one file per game."""
