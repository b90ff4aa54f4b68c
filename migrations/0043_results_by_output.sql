create index results_by_output on results (output_at)
