"""How well networks find people's joints: average precision, PCK, errors by joint, and what pictures may suffer."""
