-- leave: consumer. Remove a consumer of the stream KEYS[1], unless entries are pending for it. Returns 1 if removed.
local pending = redis.pcall('XPENDING', KEYS[1], GROUP, '-', '+', 1, A[1])
if pending.err or #pending > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], GROUP, A[1])
return 1
