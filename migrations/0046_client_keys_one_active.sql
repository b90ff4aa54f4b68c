update client_keys set state = 'retiring', retire_at = updated_at + 691200000
where state = 'active' and keyid not in (
    select kept from (
        select max(keyid) as kept from client_keys where state = 'active' group by hostname
    ) as newest
)
