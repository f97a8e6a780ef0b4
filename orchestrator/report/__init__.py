"""What a person looks at: tables in the terminal, figures, and the HTML report."""
