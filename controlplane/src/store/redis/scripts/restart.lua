-- Starts the history over, because it is not one any more: what two servers saw differs. What the store has stays, so
-- that a server can ask for what it lacks; numbers go on.
-- KEYS meta; ARGV old new channel head
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if meta[1] ~= ARGV[1] then return { 'other' } end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'was', meta[1], 'common', meta[2])
redis.call('SPUBLISH', ARGV[3], ARGV[4] .. '"epoch":"' .. ARGV[2] .. '","offset":' .. meta[2] .. '}')
return { 'ok' }
