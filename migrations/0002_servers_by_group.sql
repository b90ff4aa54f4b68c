create index servers_by_group on servers (`group`, hostname)
