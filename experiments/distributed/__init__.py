"""One run shared by the processes of several hosts."""
