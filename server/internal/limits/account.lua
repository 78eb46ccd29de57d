-- The count of an account and the clock, for begin.lua and decide.lua.
local MINUTE, HOUR = 60000000, 3600000000

-- Leases end by the clock of the Redis server, in milliseconds: the clock of a node may be wrong.
local function now_of_server()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function count(leases)
  local n = 0
  for _ in pairs(leases) do n = n + 1 end
  return n
end

-- Drops the leases that have ended.
local function expire(leases, clock, life)
  for id, e in pairs(leases) do
    -- A lease that ends too late was made before the clock was set back.
    if e <= clock or e > clock + life then leases[id] = nil end
  end
end

-- Fields: f failures, oldest first; r hashes of the last wrong secrets; b end of the block; ok time
-- of the last success that reset failures; l leases and their ends. Times are microseconds, except
-- ends of leases, which are milliseconds.
local function read(raw, now, window, clock, life)
  local s = raw and cmsgpack.unpack(raw) or {f = {}, r = {}, b = 0, ok = 0, l = {}}
  local first = 1
  while s.f[first] and s.f[first] <= now - window do first = first + 1 end
  if first > 1 then
    local f = {}
    for i = first, #s.f do f[#f + 1] = s.f[i] end
    s.f = f
  end
  if #s.f == 0 then s.r = {} end
  expire(s.l, clock, life)
  return s
end

-- The failures in a row of an account or of a known device. The last key is theirs. The last arguments are
-- the most failures (0: no lock), the first and the longest lock, and how long they are kept.
-- Fields: n failures; g locks; at time of the last failure; b end of the lock; r, ok and l as above.
local row_key, row_most = KEYS[#KEYS], tonumber(ARGV[#ARGV - 3])
local row_lock, row_max, row_kept = tonumber(ARGV[#ARGV - 2]), tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])
local function read_row(now, clock, life)
  local raw = row_most > 0 and redis.call('GET', row_key)
  local w = raw and cmsgpack.unpack(raw) or {n = 0, g = 0, at = 0, b = 0, r = {}, ok = 0, l = {}}
  if math.max(w.at, w.b) <= now - row_kept then w.n, w.g, w.r = 0, 0, {} end
  expire(w.l, clock, life)
  return w
end

local function write_row(w, now)
  if row_most == 0 then return end
  if w.n + w.g == 0 and w.b <= now and count(w.l) == 0 and w.ok <= now - row_kept then
    redis.call('DEL', row_key)
  else
    redis.call('SET', row_key, cmsgpack.pack(w), 'PX', math.ceil((math.max(w.at, w.b, now) - now + row_kept + MINUTE) / 1000))
  end
end
