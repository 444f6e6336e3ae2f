-- Limits: no sliding window of p_window_ms ever holds more than N sends of a key, as the receiver counts them.
--
-- What is known of a send under way is only that it arrives before its lease ends, so it counts as if it came then; when it has ended, it counts as
-- of its end. A place is free again one window later. Up to 100 a window every send is kept; above that the times are rounded up to a
-- hundredth of the window and counted, which keeps the bound and costs at most a hundredth of the rate.

-- When a place for one more send of the key is free; null: now.
create or replace function agwb.limit_free_at(p_key text, p_limit integer, p_window interval, p_now timestamptz) returns timestamptz
language sql stable as $$
    select max(x.at) + p_window
    from (select s.at, sum(s.n) over (order by s.at desc) as newer_or_same -- this one and all later ones
          from agwb.lanes l, unnest(l.sends, l.counts) s (at, n)
          where l.lane = p_key and s.at > p_now - p_window) x
    where x.newer_or_same >= p_limit
$$;

-- How many more sends of the key may start now.
create or replace function agwb.limit_places(p_key text, p_limit integer, p_window interval, p_now timestamptz) returns integer
language sql stable as $$
    select greatest(p_limit - coalesce(sum(s.n), 0), 0)::integer
    from agwb.lanes l, unnest(l.sends, l.counts) s (at, n)
    where l.lane = p_key and s.at > p_now - p_window
$$;

-- Counts p_count sends that are under way and arrive before p_until.
create or replace function agwb.limit_take(p_key text, p_count integer, p_until timestamptz, p_window interval) returns void
language sql as $$
    insert into agwb.lanes (lane, sends, counts) values (p_key, array[p_until], array[p_count])
    on conflict (lane) do update
    set (sends, counts) = (
        select array_agg(x.at order by x.at), array_agg(x.n order by x.at)
        from (select s.at, sum(s.n)::integer as n
              from (select * from unnest(agwb.lanes.sends, agwb.lanes.counts) u (at, n)
                    where u.at > clock_timestamp() - p_window
                    union all select p_until, p_count) s
              group by s.at) x)
$$;

-- The same for many keys, a send each time one is named; their rows are locked in one order.
create or replace function agwb.limit_take_all(p_keys text[], p_until timestamptz, p_window interval) returns void
language sql as $$
    insert into agwb.lanes (lane, sends, counts)
    select k.key, array[p_until], array[count(*)::integer] from unnest(p_keys) k (key) group by k.key order by k.key
    on conflict (lane) do update
    set (sends, counts) = (
        select array_agg(x.at order by x.at), array_agg(x.n order by x.at)
        from (select s.at, sum(s.n)::integer as n
              from (select * from unnest(agwb.lanes.sends, agwb.lanes.counts) u (at, n)
                    where u.at > clock_timestamp() - p_window
                    union all select p_until, excluded.counts[1]) s
              group by s.at) x)
$$;

-- p_count of the sends that were counted until p_until have ended at p_ended (null: they never left).
create or replace function agwb.limit_end(
    p_key text, p_count integer, p_until timestamptz, p_ended timestamptz, p_limit integer, p_window interval) returns void
language sql as $$
    update agwb.lanes l
    set (sends, counts) = (
        select coalesce(array_agg(x.at order by x.at), '{}'), coalesce(array_agg(x.n order by x.at), '{}')
        from (select s.at, sum(s.n)::integer as n
              from (select u.at, case when u.at = p_until then u.n - p_count else u.n end as n
                    from unnest(l.sends, l.counts) u (at, n)
                    where u.at > clock_timestamp() - p_window
                    union all
                    select case when p_limit <= 100 then p_ended
                           else date_bin(p_window / 100, p_ended, timestamptz '2000-01-01') + p_window / 100 end, p_count
                    where p_ended is not null) s
              where s.n > 0
              group by s.at) x)
    where l.lane = p_key
$$;
