-- Starts the history over, because two servers saw different events: the room gets a new epoch. Stored events stay, so
-- that a server can read those it lacks, and offsets continue.
-- KEYS meta; ARGV old new channel head
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if meta[1] ~= ARGV[1] then return { 'other' } end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'was', meta[1], 'common', meta[2])
redis.call('SPUBLISH', ARGV[3], ARGV[4] .. '"epoch":"' .. ARGV[2] .. '","offset":' .. meta[2] .. '}')
return { 'ok' }
