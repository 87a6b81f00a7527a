-- Records that a server serves a participant from now on, and publishes this change.
-- KEYS meta owners; ARGV server channel head participant room_ms
if redis.call('EXISTS', KEYS[1]) == 0 then return { 'noroom' } end
redis.call('HSET', KEYS[2], ARGV[4], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('SPUBLISH', ARGV[2], ARGV[3] .. '"taken":"' .. ARGV[4] .. '","by":"' .. ARGV[1] .. '"}')
return { 'ok' }
