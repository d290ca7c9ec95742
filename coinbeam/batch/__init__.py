"""What a batch is: pure data that a job and its DAG both know."""
