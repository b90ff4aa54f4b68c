alter table client_keys add column active_hostname varchar(253)
    generated always as (case when state = 'active' then hostname end) virtual
