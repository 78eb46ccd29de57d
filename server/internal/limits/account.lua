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
  for id, e in pairs(s.l) do
    -- A lease that ends too late was made before the clock was set back.
    if e <= clock or e > clock + life then s.l[id] = nil end
  end
  return s
end
