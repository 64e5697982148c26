"""The HTTPS door: JupyterHub behind nginx, and the one helper that may do what takes root."""
