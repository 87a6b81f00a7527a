-- Returns the events after an offset of an epoch.
-- KEYS meta history; ARGV epoch offset
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if not meta[1] then return { 'noroom' } end
local offset = tonumber(ARGV[2])
if meta[1] ~= ARGV[1] or offset > tonumber(meta[2]) then return { 'old' } end
if offset == tonumber(meta[2]) then return { 'ok', {} } end
local first = string.format('%.0f-0', offset + 1)
local entries = redis.call('XRANGE', KEYS[2], first, '+')
if #entries == 0 or entries[1][1] ~= first then return { 'old' } end
local found = {}
for i, entry in ipairs(entries) do found[i] = { entry[1], entry[2][2] } end
return { 'ok', found }
