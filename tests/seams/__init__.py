"""What a user can add from files of one's own: nothing here is known to the packages."""
