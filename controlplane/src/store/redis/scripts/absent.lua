-- Returns the participants (JSON) whose presence has expired, up to 1,000.
-- KEYS presence participants
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, 1000)
if #ids == 0 then return {} end
return redis.call('HMGET', KEYS[2], unpack(ids))
