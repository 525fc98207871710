"""What is unsafe or broken in an installation, each with its remedy. It looks and changes nothing."""
