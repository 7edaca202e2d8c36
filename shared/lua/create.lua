-- create: id, created, field, value ... A new job, or nothing if there is one. Not for a full Redis: its first write
-- grows memory on purpose.
local id, created = A[1], A[2]
local key = P .. 'job:' .. id
if redis.call('EXISTS', key) == 1 then return 0 end
redis.call('HSET', key, 'state', 'queued', 'created', created, 'task_at', now(), 'progress_at', now(), unpack(A, 3))
redis.call('ZADD', P .. 'jobs', created, id)
redis.call('SADD', P .. 'open', id)
event({key = key}, 'state', 'state', 'queued')
return 1
