"""Parts of the networks that models/*/net.py define in PyTorch. Needs the extra `torch`; nothing else imports it."""
