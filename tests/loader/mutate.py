# ruff: noqa
# fmt: off
#!/usr/bin/env python3
"""Writes mutated copies of a module, and list.json with pairs (file, mutation): BASE OUTDIR."""
import json, os, struct, sys
base = open(sys.argv[1], 'rb').read(); out = sys.argv[2]; os.makedirs(out, exist_ok=True); L = []
def put(what, b):
    n = 'm%03d.kmod' % len(L); open(out + '/' + n, 'wb').write(bytes(b)); L.append((n, what))
shoff, = struct.unpack_from('<Q', base, 0x28); shn, = struct.unpack_from('<H', base, 0x3c); shs, = struct.unpack_from('<H', base, 0x3e)
sh = [list(struct.unpack_from('<IIQQQQIIQQ', base, shoff + i * 64)) for i in range(shn)]
sn = lambda i: base[sh[shs][4] + sh[i][0]:base.index(b'\0', sh[shs][4] + sh[i][0])].decode()
S = {sn(i): i for i in range(1, shn)}
F = dict(name=(0, 'I'), type=(4, 'I'), flags=(8, 'Q'), addr=(16, 'Q'), offset=(24, 'Q'), size=(32, 'Q'), link=(40, 'I'), info=(44, 'I'), align=(48, 'Q'), entsize=(56, 'Q'))
def e(off, fmt, v, what):
    b = bytearray(base); struct.pack_into('<' + fmt, b, off, v); put('ehdr %s' % what, b)
def s(sec, field, v, b=None, save=True):
    b = bytearray(base) if b is None else b; o, f = F[field]; struct.pack_into('<' + f, b, shoff + S[sec] * 64 + o, v & (2**64 - 1 if f == 'Q' else 2**32 - 1))
    if save: put('shdr %s.%s = %#x (was %#x)' % (sec, field, v, sh[S[sec]][list(F).index(field)]), b)
    return b
st = S['.symtab']; so, sz = sh[st][4], sh[st][5]; nsym = sz // 24; str_ = sh[st][6]; sto, stz = sh[str_][4], sh[str_][5]
sym = [struct.unpack_from('<IBBHQQ', base, so + i * 24) for i in range(nsym)]
nm = lambda i: base[sto + sym[i][0]:base.index(b'\0', sto + sym[i][0])].decode()
N = {}
for i in range(nsym): N.setdefault(nm(i), i)
def y(i, k, v, what):
    b = bytearray(base); o, f = ((0, 'I'), (4, 'B'), (5, 'B'), (6, 'H'), (8, 'Q'), (16, 'Q'))[k]; struct.pack_into('<' + f, b, so + i * 24 + o, v); put('sym %s: %s' % (nm(i) or '#%d' % i, what), b)
put('unchanged', base)
# --- file header
for i in range(4): e(i, 'B', 0x41, 'magic byte %d' % i)
e(4, 'B', 1, 'EI_CLASS 32'); e(4, 'B', 0, 'EI_CLASS 0'); e(5, 'B', 2, 'EI_DATA big endian'); e(5, 'B', 0, 'EI_DATA 0'); e(6, 'B', 0, 'EI_VERSION 0'); e(7, 'B', 3, 'OSABI Linux'); e(7, 'B', 2, 'OSABI NetBSD'); e(8, 'B', 1, 'ABIVERSION 1'); e(15, 'B', 9, 'padding byte 9')
for t in (0, 2, 3, 4): e(16, 'H', t, 'e_type %d' % t)
for t in (0, 3, 40, 183, 61): e(18, 'H', t, 'e_machine %d' % t)
for t in (0, 2): e(20, 'I', t, 'e_version %d' % t)
e(24, 'Q', 0x1000, 'e_entry 0x1000'); e(32, 'Q', 64, 'e_phoff 64'); e(48, 'I', 1, 'e_flags 1'); e(52, 'H', 0, 'e_ehsize 0'); e(54, 'H', 56, 'e_phentsize 56'); e(56, 'H', 1, 'e_phnum 1')
e(40, 'Q', 0, 'e_shoff 0'); e(40, 'Q', len(base) + 4096, 'e_shoff past the end'); e(40, 'Q', shoff + 8, 'e_shoff + 8'); e(40, 'Q', shoff + 1, 'e_shoff + 1'); e(40, 'Q', 2**63, 'e_shoff 2^63')
for t in (0, 40, 63, 65, 128): e(58, 'H', t, 'e_shentsize %d' % t)
for t in (0, 1, shn - 1, shn - 2, shn + 1, 0xff00, 0xffff): e(60, 'H', t, 'e_shnum %d' % t)
for t in (0, 1, S['.strtab'], shn, 0xffff): e(62, 'H', t, 'e_shstrndx %d' % t)
# --- section headers
for c in ('.text', '.data', '.rodata', 'link_set_modules', '.rodata.str1.1', '.symtab', '.strtab', '.shstrtab', '.rela.text', '.rela.data', '.relalink_set_modules'):
    s(c, 'offset', len(base) + 64); s(c, 'size', 0)
for c in ('.text', '.data', '.rodata', '.symtab', '.strtab'): s(c, 'size', len(base) * 2)
for c in ('.text', '.rodata', '.symtab', '.rela.text'): s(c, 'size', 2**40)
for c in ('.text', '.data', '.rodata'):
    for a in (0, 1, 3, 4096, 8192, 2**31): s(c, 'align', a)
s('.symtab', 'align', 0); s('.rela.text', 'align', 0); s('.strtab', 'align', 3)
for c in ('.text', '.data', '.rodata', 'link_set_modules', '.rodata.str1.1'): s(c, 'type', 0); s(c, 'type', 7)
for c in ('.text', '.data', '.rodata', 'link_set_modules'): s(c, 'type', 8)
for c in ('.symtab', '.strtab', '.shstrtab', '.rela.text', '.relalink_set_modules', '.rela.data'): s(c, 'type', 0)
s('.symtab', 'type', 11); s('.strtab', 'type', 1); s('.shstrtab', 'type', 1); s('.rela.text', 'type', 9); s('.rela.data', 'type', 9); s('.rodata.cst32', 'type', 2); s('.rodata.cst32', 'type', 14); s('.rodata.cst32', 'type', 0x6ffffff5); s('.rodata.cst32', 'type', 17)
s('.text', 'flags', 2); s('.text', 'flags', 4); s('.text', 'flags', 7); s('.text', 'flags', 0); s('.data', 'flags', 2); s('.data', 'flags', 7); s('.data', 'flags', 1); s('.rodata', 'flags', 3); s('.rodata', 'flags', 0); s('.rodata', 'flags', 6); s('link_set_modules', 'flags', 0); s('link_set_modules', 'flags', 3); s('link_set_modules', 'flags', 6); s('.data', 'flags', 0x403); s('.rodata.str1.1', 'flags', 0x802)
s('.symtab', 'link', 0); s('.symtab', 'link', shn); s('.symtab', 'link', S['.text']); s('.symtab', 'link', S['.shstrtab']); s('.symtab', 'info', 0); s('.symtab', 'info', nsym); s('.symtab', 'info', nsym + 9); s('.symtab', 'info', 3); s('.symtab', 'entsize', 0); s('.symtab', 'entsize', 16); s('.symtab', 'size', sz - 24); s('.symtab', 'size', sz - 4); s('.symtab', 'size', 24 * 10)
s('.rela.text', 'info', 0); s('.rela.text', 'info', shn); s('.rela.text', 'info', shn + 500); s('.rela.text', 'info', S['.rodata']); s('.rela.text', 'info', S['.symtab']); s('.rela.text', 'link', 0); s('.rela.text', 'link', S['.strtab']); s('.rela.text', 'entsize', 0); s('.rela.text', 'entsize', 16); s('.rela.text', 'size', sh[S['.rela.text']][5] - 8); s('.rela.text', 'size', sh[S['.rela.text']][5] - 24)
s('link_set_modules', 'name', 0); s('link_set_modules', 'name', 0xfffff); s('link_set_modules', 'name', sh[S['.data']][0]); s('.text', 'name', sh[S['link_set_modules']][0]); s('.rodata', 'name', sh[S['link_set_modules']][0]); s('link_set_modules', 'size', 16); s('link_set_modules', 'size', 4); s('link_set_modules', 'size', 9); s('.text', 'name', 0x7fffffff); s('.symtab', 'name', 0x7fffffff); s('.text', 'addr', 0x1000); s('.strtab', 'size', stz - 40); s('.strtab', 'size', 1); s('.shstrtab', 'size', 10)
# --- symbols
und = [i for i in range(1, nsym) if sym[i][3] == 0 and nm(i)]
glo = [i for i in range(1, nsym) if sym[i][1] >> 4 == 1 and sym[i][3] not in (0, 0xfff1, 0xfff2)]
loc = [i for i in range(1, nsym) if sym[i][1] == 2 and sym[i][3] == S['.text']]
def rename(i, new, what):
    b = bytearray(base); o = sto + sym[i][0]; old = len(nm(i)); assert len(new) <= old; b[o:o + old + 1] = new.encode().ljust(old + 1, b'\0'); put('sym ' + what, b)
u = N['kmem_alloc'] if 'kmem_alloc' in N else und[0]
long = max(und, key=lambda i: len(nm(i)))
rename(long, 'nosuchsymbol'[:len(nm(long))], 'import %s renamed to nosuchsymbol' % nm(long)); y(long, 1, 0x20, 'binding weak'); b = bytearray(base); o = sto + sym[long][0]; b[o:o + 3] = b'zzz'; struct.pack_into('<B', b, so + long * 24 + 4, 0x20); put('sym %s: weak and unknown' % nm(long), b)
y(long, 0, stz + 100, 'st_name past strtab'); y(long, 0, 2**32 - 1, 'st_name 2^32-1'); y(long, 0, 0, 'st_name 0 (undefined without a name)'); y(long, 3, 0xfff2, 'COMMON'); y(long, 3, 0xfff1, 'ABS value 0'); y(long, 3, shn + 3, 'shndx past the sections'); y(long, 3, S['.symtab'], 'shndx .symtab'); y(long, 1, 0x00, 'undefined local'); y(long, 1, 0x12, 'undefined FUNC'); y(long, 1, 0x1a, 'undefined IFUNC'); y(long, 1, 0x16, 'undefined TLS')
g0 = glo[0]; big = max(glo, key=lambda i: len(nm(i)))
y(g0, 4, 2**40, 'value 2^40'); y(g0, 4, sh[S['.text']][5] + 10, 'value past its section'); y(g0, 3, 0, 'made undefined'); y(g0, 3, 0xfff1, 'made ABS'); y(g0, 3, S['.strtab'], 'shndx .strtab'); y(g0, 3, 0xff20, 'shndx 0xff20'); y(g0, 1, 0x22, 'global -> weak'); y(g0, 1, 0x02, 'global -> local (after sh_info)'); y(g0, 1, 0x1a, 'IFUNC'); y(g0, 1, 0xd2, 'binding 13'); y(g0, 1, 0x1f, 'type 15'); y(g0, 2, 3, 'visibility protected'); y(g0, 5, 2**40, 'size 2^40')
rename(big, 'printf', 'export %s renamed to printf' % nm(big)); rename(big, 'vmt_cd' if len(nm(big)) >= 6 else 'x', 'export %s renamed to vmt_cd (built-in vmt)' % nm(big)); rename(big, '', 'export %s renamed to ""' % nm(big)); rename(loc[0] if loc else g0, 'printf'[:len(nm(loc[0] if loc else g0))], 'local renamed to printf')
y(loc[0], 1, 0x12, 'local -> global (before sh_info)'); y(0, 1, 0x12, 'entry 0 is not null'); y(0, 3, 1, 'entry 0 has a section')
b = bytearray(base); struct.pack_into('<I', b, so + big * 24, sym[g0][0]); put('sym: two exports of the same name (%s)' % nm(g0), b)
b = bytearray(base); b[sto + stz - 1] = 0x41; put('strtab without NUL at its end', b); b = bytearray(base); b[sto] = 0x41; put('strtab does not begin with NUL', b); b = bytearray(base); b[sh[shs][4] + sh[shs][5] - 1] = 0x41; put('shstrtab without NUL at its end', b)
# --- relocations
def rel(sec, pick, what, off=None, typ=None, symi=None, add=None):
    r = S[sec]; n = sh[r][5] // 24
    for i in range(n):
        o = sh[r][4] + i * 24; ro, ri, ra = struct.unpack_from('<QQq', base, o)
        if pick(ro, ri & 0xffffffff, ri >> 32, ra):
            b = bytearray(base); struct.pack_into('<QQq', b, o, ro if off is None else off, (ri >> 32 if symi is None else symi) << 32 | ((ri & 0xffffffff) if typ is None else typ), ra if add is None else add); put('rela %s %s (r_offset %#x type %d sym %s)' % (sec, what, ro, ri & 0xffffffff, nm(ri >> 32)), b); return
    print('no such relocation', sec, what)
anyr = lambda *a: True; T = sh[S['.text']][5]
pc = lambda o, t, s_, a: t in (2, 4); r32s = lambda o, t, s_, a: t == 11; r64 = lambda o, t, s_, a: t == 1
for t in (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 24, 26, 37, 41, 42, 200, 255, 2**31): rel('.rela.text', pc, 'type %d instead of PC32/PLT32' % t, typ=t)
rel('.rela.rodata', r64, 'type 10 (R_32) instead of R_64', typ=10); rel('.rela.rodata', r64, 'type 11 (R_32S) instead of R_64', typ=11); rel('.rela.rodata', r64, 'type 24 (PC64)', typ=24); rel('.rela.data', r64, 'type 8 (RELATIVE)', typ=8); rel('.rela.data', r64, 'type 0', typ=0)
for o, w in ((T, 'offset = end'), (T - 1, 'offset = end - 1'), (T - 3, 'offset = end - 3'), (T + 4096, 'offset past the end'), (2**40, 'offset 2^40'), (2**64 - 8, 'offset -8')): rel('.rela.text', pc, w, off=o)
rel('.rela.data', r64, 'offset past the end', off=sh[S['.data']][5] + 8); rel('.rela.data', r64, 'offset = end - 4', off=sh[S['.data']][5] - 4); rel('.rela.rodata', r64, 'unaligned offset', off=3)
for i, w in ((0, 'symbol 0'), (nsym, 'symbol = count'), (nsym + 1000, 'symbol past the table'), (2**31, 'symbol 2^31')): rel('.rela.text', pc, w, symi=i)
rel('.rela.rodata', r64, 'symbol past the table', symi=nsym + 7); rel('.rela.rodata', r64, 'symbol 0', symi=0)
rel('.rela.text', pc, 'addend 2^33', add=2**33); rel('.rela.text', pc, 'addend -2^40', add=-2**40); rel('.rela.text', pc, 'addend 2^31 - 1', add=2**31 - 1); rel('.rela.text', r32s, 'addend 2^33', add=2**33)
# --- modinfo
info = [i for i in range(1, nsym) if 'modinfo' in nm(i)]; print('modinfo symbols', [nm(i) for i in info])
mi = info[0] if info else None
lr = S['.relalink_set_modules']; ro, ri, ra = struct.unpack_from('<QQq', base, sh[lr][4]); ms = ri >> 32
msec = sym[ms][3]; mo = sym[ms][4] + ra; mfile = sh[msec][4] + mo; mver, mcls = struct.unpack_from('<Ii', base, mfile); print('modinfo in', sn(msec), hex(mo), mver, mcls)
def M(off, fmt, v, what): b = bytearray(base); struct.pack_into('<' + fmt, b, mfile + off, v); put('modinfo ' + what, b)
for v in (0, 1, mver + 100, mver - 100, mver + 1, mver - 1, 1100000000, 1000000000, 999009900, 2**32 - 1): M(0, 'I', v, 'version %d' % v)
for c in (-1, 0, 1, 2, 4, 5, 6, 7, 255, 2**31 - 1): M(4, 'i', c, 'class %d' % c)
def mrel(field):
    for r in [x for x in sh if x[1] == 4 and x[7] == msec]:
        for i in range(r[5] // 24):
            o = r[4] + i * 24; ro, ri, ra = struct.unpack_from('<QQq', base, o)
            if ro == mo + field: return o, ri, ra
for f, w in ((8, 'modcmd'), (16, 'name'), (24, 'required')):
    x = mrel(f)
    if not x: print('no reloc for', w); continue
    b = bytearray(base); struct.pack_into('<QQ', b, x[0], mo + f, 0); put('modinfo %s: no relocation (NULL)' % w, b)
def cstr(field):
    o, ri, ra = mrel(field); sy = sym[ri >> 32]; return sh[sy[3]][4] + sy[4] + ra
no = cstr(16); rq = cstr(24); print('name', base[no:no + 8], 'required', base[rq:rq + 20])
def name(v, what):
    b = bytearray(base); o = no; assert len(v) <= 3; b[o:o + 4] = v.ljust(4, b'\0'); put('modinfo name ' + what, b)
name(b'vmx', '"vmx" (file vmt.kmod)'); name(b'', '""'); name(b'a/b', '"a/b"'); name(b'v,t', '"v,t"'); name(b'\xff\xfe\xfd', '"\\xff\\xfe\\xfd"'); name(b'ffs', '"ffs" (built in)'); name(b'v t', '"v t"')
# long name: point name at a longer string
o, ri, ra = mrel(16)
seg = base[sh[S['.rodata.str1.1']][4]:sh[S['.rodata.str1.1']][4] + sh[S['.rodata.str1.1']][5]]; p = 0; strs = []
while p < len(seg): q = seg.index(b'\0', p); strs.append((q - p, p)); p = q + 1
ssym = [i for i in range(1, nsym) if sym[i][3] == S['.rodata.str1.1'] and sym[i][1] & 15 == 3] or [i for i in range(1, nsym) if sym[i][3] == S['.rodata.str1.1']]
def namelen(n):
    k = [x for x in strs if x[0] >= n]
    if not k: print('no string of', n); return
    k = min(k); at = k[1] + k[0] - n; b = bytearray(base); si = ssym[0]; struct.pack_into('<QQq', b, o, mo + 16, si << 32 | 1, at - sym[si][4]); put('modinfo name of %d characters (%r)' % (n, seg[at:at + n][:40]), b)
for n in (14, 15, 16, 30, 31, 32, 33, 63, 64): namelen(n)
def req(v, what):
    b = bytearray(base); room = base.index(b'\0', rq) - rq; assert len(v) <= room, (v, room); b[rq:rq + room + 1] = v.ljust(room + 1, b'\0'); put('modinfo required ' + what, b)
req(b'nosuchmod', '"nosuchmod"'); req(b'vmt', '"vmt" (itself)'); req(b'ffs,md', '"ffs,md"'); req(b'', '""'); req(b',', '","'); req(b'ffs,', '"ffs,"'); req(b',ffs', '",ffs"'); req(b'ffs, md', '"ffs, md"'); req(b'a,b,c,d,e,f', '"a,b,c,d,e,f"'); req(b'ffs,ffs', '"ffs,ffs"'); req(b'tap', '"tap" (built in)')
o3, ri3, ra3 = mrel(24); k = max(strs); b = bytearray(base); struct.pack_into('<QQq', b, o3, mo + 24, ssym[0] << 32 | 1, k[1] - sym[ssym[0]][4]); put('modinfo required: a string of %d characters without a comma' % k[0], b)
# --- link set
lo = sh[lr][4]; b = bytearray(base); struct.pack_into('<QQ', b, lo, 0, 0); put('link_set_modules: its relocation is R_NONE (NULL entry)', b)
b = bytearray(base); struct.pack_into('<QQq', b, lo, 0, ms << 32 | 1, ra + 8); put('link_set_modules: points 8 bytes into modinfo', b)
# --- truncated, longer
for n in (0, 1, 16, 63, 64, 65, 1000, 0x40 + 100, len(base) // 2, sto, shoff - 1, shoff, shoff + 63, shoff + 64 * (shn - 1), len(base) - 64, len(base) - 1): put('truncated to %d of %d bytes' % (n, len(base)), base[:n])
put('4096 zero bytes appended', base + bytes(4096)); put('1 byte appended', base + b'x')
json.dump(L, open(out + '/list.json', 'w'), indent=0); print(len(L), 'files')
