"""What training and tuning cost, and what they find."""
