"""How the published forecasts and their data are doing: findings, from the stored tables alone."""
