"""OpenAI's side: webhook endpoints and their test deliveries. These modules print nothing."""
