"""What is written about every act, and how the log is kept."""
