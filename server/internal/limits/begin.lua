-- Starts a try: it is allowed, refused or has to wait. shared.go describes the keys.
local field, now, lease, life = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local most, window, unlimited, room, keep = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[8]), tonumber(ARGV[9])
local clock = now_of_server()

local s = read(redis.call('HGET', KEYS[1], field), now, window, clock, life)
local row = read_row(now, clock, life)
local function answer(word, wait, why) return {word, wait, why, s.b, s.ok, row.b, row.ok} end
local wait, why = s.b - now, 0
if wait < 0 then wait = 0 end
if row.b - now > wait then wait, why = row.b - now, -1 end
local networks = {}
for i = 2, #KEYS - 1, 3 do
  local minute, hour, repeats = tonumber(ARGV[8 + i]), tonumber(ARGV[9 + i]), tonumber(ARGV[10 + i])
  local first = redis.call('LINDEX', KEYS[i], 0)
  while first and tonumber(first) <= now - HOUR do
    redis.call('LPOP', KEYS[i])
    first = redis.call('LINDEX', KEYS[i], 0)
  end
  local n = redis.call('LLEN', KEYS[i])
  networks[#networks + 1] = {n = n, minute = minute, hour = hour, repeats = repeats}
  if not unlimited then
    for _, limit in ipairs({{KEYS[i], hour, HOUR}, {KEYS[i], minute, MINUTE}, {KEYS[i + 2], repeats, MINUTE}}) do
      local at = redis.call('LINDEX', limit[1], -limit[2])
      local w = at and tonumber(at) + limit[3] - now or 0
      if w > wait then wait, why = w, (i + 1) / 3 end
    end
  end
end
if wait > 0 then return answer('blocked', wait, why) end
if lease == '' then return answer('ok', 0, 0) end -- no lease: only the question whether it is refused

-- Without undecided tries there is nothing to wait for.
local under = count(s.l)
if under > 0 and #s.f + under >= most then return answer('wait', 0, 0) end
under = count(row.l)
if under > 0 and row.n + under >= row_most then return answer('wait', 0, 0) end
for i = 3, #KEYS - 1, 3 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', clock)
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '(' .. (clock + life), '+inf')
  if not unlimited then
    local c, n = redis.call('ZCARD', KEYS[i]), networks[i / 3]
    if c > 0 then
      if n.n + c >= n.hour then return answer('wait', 0, 0) end
      for _, limit in ipairs({{KEYS[i - 1], n.minute}, {KEYS[i + 1], n.repeats}}) do
        local k = limit[2] - c -- this many in a minute are too many
        local at = k > 0 and redis.call('LINDEX', limit[1], -k)
        if k <= 0 or at and tonumber(at) > now - MINUTE then return answer('wait', 0, 0) end
      end
    end
  end
end

if redis.call('HEXISTS', KEYS[1], field) == 0 and redis.call('HLEN', KEYS[1]) >= room then
  -- Drop the account with the lowest weight in a sample.
  local victim, least
  local some = redis.call('HRANDFIELD', KEYS[1], 16, 'WITHVALUES')
  for j = 1, #some, 2 do
    local v = read(some[j + 1], now, window, clock, life)
    if count(v.l) == 0 then
      local weight = #v.f
      if v.b > now then weight = 1048576 end
      if not least or weight < least then victim, least = some[j], weight end
      if weight == 0 and v.ok <= now - window then redis.call('HDEL', KEYS[1], some[j]) end
    end
  end
  if not victim then return answer('busy', 0, 0) end
  redis.call('HDEL', KEYS[1], victim)
end
s.l[lease] = clock + life
redis.call('HSET', KEYS[1], field, cmsgpack.pack(s))
redis.call('PEXPIRE', KEYS[1], keep)
row.l[lease] = clock + life
write_row(row, now)
for i = 3, #KEYS - 1, 3 do
  redis.call('ZADD', KEYS[i], clock + life, lease)
  redis.call('PEXPIRE', KEYS[i], life)
end
return answer('ok', 0, 0)
