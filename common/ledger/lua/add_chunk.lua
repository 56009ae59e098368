-- Record the next chunk of a batch's manifest, and where the manifest is cut next.
-- ARGV: now, batch, token of the manifest's claim, number of the chunk, JSON of its span, JSON of the next position.
-- Returns 1, or 0 if the claim is no longer valid or the batch is sealed.
local batch, chunk = ARGV[2], tonumber(ARGV[4])
local key = 'batch:' .. batch
local fields = redis.call('HMGET', key, 'manifest_token', 'sealed', 'manifest_chunks', 'model')
if fields[1] ~= ARGV[3] or fields[2] ~= '0' then return 0 end
if chunk < tonumber(fields[3] or 0) then return 1 end -- redis-py repeats the script after a timeout
local id, model = batch .. '/' .. chunk, fields[4] or ''
redis.call('HSET', key, 'manifest_chunks', chunk + 1, 'manifest_position', ARGV[6])
redis.call('HSET', 'chunk:' .. id, 'span', ARGV[5])
if model ~= '' then redis.call('HSET', 'chunk:' .. id, 'model', model) end
enter(lane_for('chunks', model), batch, chunk, id, model)
return 1
