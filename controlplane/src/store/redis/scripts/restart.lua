-- Starts the history over, because it is not one any more: what two nodes saw differs.
-- KEYS meta history; ARGV old new channel head
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return { 'other' } end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
redis.call('DEL', KEYS[2])
redis.call('SPUBLISH', ARGV[3], ARGV[4] .. '"epoch":"' .. ARGV[2] .. '"}')
return { 'ok' }
