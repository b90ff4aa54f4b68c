create index dead_letters_by_worth on dead_letters (verified, last_at, id, kept)
