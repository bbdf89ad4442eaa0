"""What is to be known of this code on an accelerator, in a few minutes of one."""
