"""What is measured: a file each, all started, asked and stopped in the same way."""
