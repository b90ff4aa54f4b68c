create index dead_letters_by_replay on dead_letters (replay_at)
