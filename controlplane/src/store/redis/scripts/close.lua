-- Removes a server from the readers of the room. Deletes a room without participants and readers.
-- KEYS meta history participants presence owners readers; ARGV server
redis.call('ZREM', KEYS[6], ARGV[1])
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', time[1] * 1000)
if redis.call('HLEN', KEYS[3]) == 0 and redis.call('ZCARD', KEYS[6]) == 0 then
    redis.call('DEL', unpack(KEYS))
end
return { 'ok' }
