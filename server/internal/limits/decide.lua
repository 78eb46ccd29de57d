-- Ends a try: it was cancelled, succeeded or failed. shared.go describes the keys.
local field, now, lease, life = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local most, window, kind, secret, keep, block = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local clock = now_of_server()

local s = read(redis.call('HGET', KEYS[1], field), now, window, clock, life)
local row = read_row(now, clock, life)
s.l[lease], row.l[lease] = nil, nil
for i = 3, #KEYS - 1, 3 do redis.call('ZREM', KEYS[i], lease) end
local counted, in_row = 0, 0
local function push(key, limit)
  local newest = redis.call('LINDEX', key, -1)
  local at = newest and tonumber(newest) > now and newest or ARGV[2] -- ascending, also with clocks that differ
  redis.call('RPUSH', key, at)
  redis.call('LTRIM', key, -tonumber(limit), -1) -- as many as the limit needs
  redis.call('PEXPIRE', key, keep)
end
if kind == 'succeeded' then
  -- Other nodes have counted failures too: ok tells them to reset those.
  if #s.f > 0 and now > s.ok then s.ok = now end
  s.f, s.r = {}, {}
  if row.n + row.g > 0 and now > row.ok then row.ok = now end
  row.n, row.g, row.r = 0, 0, {}
elseif kind == 'failed' then
  local again = false
  for _, r in ipairs(s.r) do again = again or r == secret end
  if not again then
    counted = 1
    s.r = {secret, s.r[1], s.r[2]}
    local latest = s.f[#s.f]
    s.f[#s.f + 1] = latest and latest > now and latest or now
    if #s.f >= most then s.b, s.f, s.r = now + block, {}, {} end
  end
  for i = 2, #KEYS - 1, 3 do
    if again then push(KEYS[i + 2], ARGV[11 + i]) else push(KEYS[i], ARGV[10 + i]) end
  end
end
if kind == 'failed' then
  local again = false
  for _, r in ipairs(row.r) do again = again or r == secret end
  if not again then
    in_row = 1
    row.r = {secret, row.r[1], row.r[2]}
    row.n, row.at = row.n + 1, math.max(row.at, now)
    if row_most > 0 and row.n >= row_most then
      local length = row_lock
      for _ = 1, row.g do
        if length < row_max then length = length * 2 end
      end
      row.b, row.g, row.n, row.r = now + math.min(length, row_max), row.g + 1, 0, {}
    end
  end
end
write_row(row, now)
if #s.f == 0 and s.b <= now and count(s.l) == 0 and s.ok <= now - window then
  redis.call('HDEL', KEYS[1], field)
else
  redis.call('HSET', KEYS[1], field, cmsgpack.pack(s))
  redis.call('PEXPIRE', KEYS[1], keep)
end
return {counted, s.b, in_row, row.b}
