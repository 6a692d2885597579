"""What a language model knows of news and risk, before and after it was trained to trade."""
