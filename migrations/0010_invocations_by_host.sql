create index invocations_by_host on invocations (hostname, status)
