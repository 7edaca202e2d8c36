-- take: id, unit, stage, index, entry, consumer. Called right before the work; KEYS[1] is the stream.
-- {"lost"}     not mine any more: drop it, no acknowledgement
-- {"skipped"}  not wanted any more: acknowledged
-- {"failed", code}  begun too often, or what it needs was lost: dead letter, job failed
-- {"taken", tries, first blob, second blob, job fields ...}
local stream, id, unit, stage, index, entry, consumer = KEYS[1], A[1], A[2], A[3], A[4], A[5], A[6]
local mine = redis.pcall('XPENDING', stream, GROUP, entry, entry, 1, consumer)
if mine.err or #mine == 0 then return {'lost'} end
local job = load_job(id)
if not job or not is_active(job, stage) or not holds(job, unit, entry) then
  release(stream, entry)
  return {'skipped'}
end
redis.call('XCLAIM', stream, GROUP, consumer, 0, entry, 'JUSTID')
local tries = tonumber(redis.call('HGET', job.turns, unit .. ':tries') or '0') + 1

local function give_up(code, message)
  release(stream, entry)
  dead_letter(id, unit, stream, entry, message)
  end_job(job, 'failed', cjson.encode({code = code, message = message, retryable = false}))
  return {'failed', code}
end

if tries > L.max_tries then
  return give_up('gave_up', unit .. ' was begun ' .. int(tries - 1)
    .. ' times and never finished: the worker died or hung each time. See the logs of the ' .. stage .. ' workers.')
end
redis.call('HSET', job.turns, unit .. ':tries', int(tries))

local one, two = '', ''
if stage == 'motion' then
  one = redis.call('HGET', job.key .. ':features', index)
  two = redis.call('HGET', job.key .. ':window', index) or ''
  if not one then
    release(stream, entry)
    clear(job, unit)
    if redis.call('HEXISTS', job.turns, 'encode:' .. index) == 0 then issue(job, 'encode', tonumber(index)) end
    return {'skipped'}
  end
  if two == '' and index ~= '0' then return give_up('state_lost', 'the state before ' .. unit .. ' was lost') end
elseif stage == 'render' then
  one = redis.call('HGET', job.key .. ':motion', index)
  if not one then return give_up('state_lost', 'the motion of ' .. unit .. ' was lost') end
end
local fields = redis.call('HMGET', job.key, 'n_frames', 'hop', 'seed', 'output', 'portrait_digest', 'portrait_file',
  'gain', 'head_motion', 'expressiveness', 'blinks_per_minute', 'gaze_x', 'gaze_y', 'emotion_strength', 'emotion')
return {'taken', int(tries), one, two, unpack(fields)}
