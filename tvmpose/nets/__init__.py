"""Parts of the networks that models/*/net.py define in PyTorch. Needs the extra `torch`.

Nothing else imports it, but for region_operators.py, which frontend/torch.py has kernels for.
"""
