update results set output_at = received_at
