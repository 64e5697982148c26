"""Log lines to CloudWatch Logs."""
