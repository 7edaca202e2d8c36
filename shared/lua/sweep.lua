-- sweep: at most. Delete entries of the stream KEYS[1] that can never be delivered: read by the group, not pending.
-- (A script that was cut between XACK and XDEL leaves one.) Undelivered entries stay. Returns how many went.
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then return 0 end
local last
for _, group in ipairs(groups) do
  local facts = {}
  for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
  if facts['name'] == GROUP then last = facts['last-delivered-id'] end
end
if not last or last == '0-0' then return 0 end
local swept = 0
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', last, 'COUNT', A[1])) do
  if #redis.call('XPENDING', KEYS[1], GROUP, entry[1], entry[1], 1) == 0 then
    swept = swept + redis.call('XDEL', KEYS[1], entry[1])
  end
end
return swept
