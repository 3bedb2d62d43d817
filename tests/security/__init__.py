"""What a stranger's file, text or name may not do, and what may not be written down."""
