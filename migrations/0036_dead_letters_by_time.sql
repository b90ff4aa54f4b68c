create index dead_letters_by_time on dead_letters (last_at, id)
