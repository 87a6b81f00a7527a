-- Writes a key with a TTL: shows whether the server accepts writes.
-- KEYS probe; ARGV ms
redis.call('HSET', KEYS[1], 'at', 'now')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return { 'ok' }
