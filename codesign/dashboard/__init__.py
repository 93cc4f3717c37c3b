"""The page that follows a study while it runs: it reads the study's folder and changes nothing."""
