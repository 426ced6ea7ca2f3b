"""What a classifier is: network, tokenizer, checkpoint folder and in-process inference."""
