-- renew: consumer, entry ... Entries that are still mine become fresh again; KEYS[1] is the stream. Returns how many.
-- Only where the pending list still names me: a worker that was paused must not steal back.
local renewed = 0
for i = 2, #A do
  local mine = redis.pcall('XPENDING', KEYS[1], GROUP, A[i], A[i], 1, A[1])
  if not mine.err and #mine > 0 then
    redis.call('XCLAIM', KEYS[1], GROUP, A[1], 0, A[i], 'JUSTID')
    renewed = renewed + 1
  end
end
return renewed
