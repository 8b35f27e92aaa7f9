"""The function behind the URL that OpenAI calls."""
