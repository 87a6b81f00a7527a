-- Writes something that does not last: a server that refuses is to be left.
-- KEYS probe; ARGV ms
redis.call('HSET', KEYS[1], 'at', 'now')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return { 'ok' }
