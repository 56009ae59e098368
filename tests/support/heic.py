"""HEIC images, encoded once with libheif and x265: the tests' dependencies can only read them."""

from __future__ import annotations

import base64
import zlib


def _file(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


#: `drawing(size=(64, 32))`.
RGB = _file(
    "c-muNV30{GsVvAy%}izhg51nBLl8SRGck>Ufw49>wIq=N0u(b+a*CjAhJwuG5(YG&l$nzcHpIn&fe{FSfN>#&2C{g8gmPwPUK)f8"
    "#G*h>Dif5KQI>27V)7MamgK^f{LL&VDge@VGYgXQfpi&AnKL6ZNN56Bk=zG{KYxGxU|`^9P5|nVaA4$N{Qn=MfElEM8HD6^F*zgx"
    "CAFLw8PQ}GC^WK8d-Y`5&K(>X1`0qSW)Q)km;_YL=E8We_&_Jn65-_hoT9wsoC=^QF9TZxP)H=RxF8kkZwDyWNX|(tfU-f3SAfzW"
    "!1VwB{|6u%hy@BVD>6ZX%p4pXKuRLBAQu+Mz;I)2WMXD*0Ww8%QxbuJ%*d(1xSsRD<D&Lh|LuLp&nrjd|C=XWBQF~zc-4FYUro@H"
    "bGO6T|NmvkzU$1{RUA@o@Z(EG>Wy{DTlVaFCKs{PocFNM^G&-X)UrG$a(wVzrhIILYMf0qW2@v;&6h{2eo2a)QRh>eT=YVyHg;9a"
    "y_`?`|3z!BeOW9!r}gIt^G$oM29_9?2mJEvH~;ygZNUM>Wo9d-lb)DePfC_|Xnv=^@}&QyPv%;s{EPSvw!Qr~N4wPP)-=(cOFdFr"
    "#>olGb*0M91N8Wf)nl)61c*1S+J4H}y6=Vdsd@Rg8Fx<q5xh5foqdVfXKlO2J;iQU-&B2gwkgKHj+N(qfM)}P{B-gA&+}z|m)nM9"
    "Xy!^d005i_#k&"
)
#: The same image, stored with a rotation by 90 degrees (HEIF's `irot`).
TURNED = _file(
    "c-muNV30{GsVvAy%}izhg51nBLl8SRGck>Uf$>CcYDppk1Sn>t<P<^K3<a6VB@Af5Br_);Y>0~k0}}%yh{gB@LIYX6KrtX-`Uw+Z"
    "Pyu3#%*?zrFb^av3go1Ml>yaclqDN7APF*pl(<%8f|c_XWR~PIKvgobXBHF{0NKwn3zGAJbQw^uGb1xdXaZP~+y{m~e}DX7VBlv?"
    "0P2u%VB}%^{~x4)8Ki<4gyeQHIV1ulwVW6k(PS1VG_p>6^<>%39UK`33P2%d5W%3B1XRxE!g#RwKqt@=;pF_BqP*ms3ZN)216u=7"
    "NF=kkAQkFe2PoD^&PgnQvOz(i0Hwi!@c;k+2hhL}D9EhH1PL;8aBu)A&dj3x5}<n+Br^+gVUfbfz{u9f#LU{#2INR(7Nw>^CHRt4"
    "ij%?7016<>+>}IMd@*urFs|o(@VKZw)_;57@$<?N`Tyog*T~C830^gyz*iIW<lOBr_WyqwvhO-`b`^(|8~pfEk$PiY@|Hcjp2<Zl"
    "HRnAn^nBAU3AHTGi5wq%mnk1xp&DmX&DbhARrBSMs$Y^KXVm%BCKtUBs*PP0b1&!9{(sThYhM=2&T0Mm!F<!6tAQoP<pIAu`^|s;"
    "Xj^bVahcgl>7*xS*OQXv9h%?iuRQ5L>65uuDgPpVgKcmB&CxFPx;0I-=TeW9mT_{za$Tu%^8h`5WA)gp90B4@tG1tVw(fhOeQI9*"
    "ZN{C`e+2JMUT0ro_F3DmaZj<^)i+fio^6WpuVdwTAK=-*AU|FF{_}j9-{rO;8Jf8gpulH?Bqm>91}z|ugMpDz2o&F-IE92E091q0"
    "Sp"
)
#: 64 x 32, RGBA, fully transparent.
CLEAR = _file(
    "c-muNV30{GsVvAy%}izhg51nBLl8SRGck>UfhjvTwIq=N0u(b+a*CjAhJwuG5(YG2l9`haHpIn&fr)_;#A51)&_Ey$6a$H@gNq0Q"
    "u|;NPUK*GOk`)DVQo+iAYBI`_4H-}bnGk|}1(_we3{aJft1=6U3V?J|W<hd3P^=87%$boHD8w)UtVr$y!=JxDelRfbGbaFbNH{R^"
    "F#i7!QosyS!3;ujyO<mjfs$HIjErb93lthzr@eZzZ08P+3<CwA5HpBiP)q_UXLDgZSbU%p<e%jHoT9wsoC=^QF9TZxP)H=RxF8kk"
    "T?Z)ENX|(tfU-eBp#Y`9KK%dx{{v`X2oz*iWP${lIXE~#K@Rp53y3-Y2h3A{5S|i;cnYL|8LR^6c9@@3fqp`jIMBo*7QK4XtY-&+"
    "?&N6z3AUhmhYw~yBgjhi#L^095U;c-&nmYdHQg#BwJh1n$iUFl3MiGCVg-&Dh0KCnSb_nj0oFz)X4V!4Ce}7)_Kp^ym{ev_Y8q6Y"
    "52!B(oKisEx5`aP1SKhH4aW6s7M*%E`rj7E|Np<~=HKZ*4W692a;UiH4^Wz4gK-^C!B*~v^$&IHj>ZcE0K(Faj{"
)
#: The same image as RGB, with 10 bits per sample.
DEEP = _file(
    "c-muNV30{GsVvAy&8%Pmg51nBLl8SRGck>Ufw3kxwIq=N0u(b+a*CjAhJwuG5(YG&l$n#C3}U!AFfalk5HK!)&_I?nkWkLd%u9oC"
    "fmjsCNo9iaGRl$-K}^1a%#vKVl0TURMFl|mPG&)JK9DX2DsyIJ;Q%t{?f@y0`@rz$@2_7B4E)RqKpo-^j6970|AQ1TgH<pCmF!}2"
    "NCe7hIWaP#N-R)lWVxBQ&MSL%Lt8TwNX!UCFbO09m9x1p9xOi43A95vIX|Z;FFB_ID9X#g)&LX|$t*5Ng?ifoiZzmR5(}VgklPiY"
    "Gzc*L|Ns91hz4STg3O9ckRUS`7Z;F{$SlZ(g)uPLSR0v`SzCZi<=m7+U>GxsYcQ_oeDJa6htSD@bsz6bM@rAH|9T|)!H-uL`j)R}"
    "yiv@*Y5o6)&i{X}o$%uD{aFIMCyY{Mqu+lPZ=P>e#s5~!xM{L=@rBo1LN_fN9$nG8v~Hrt|4`j$UxM9S7dCy}n$EM{;<v?)GTVS>"
    "t&BI^P9&A&9ldk6W$OJedFS7Vy)M7AP9<cY<aaL{G5amAwK|miJ(cV>PSCsf!G5LEKf}(Tm^lCIQ?^FftFzyo+q5C#d%&zFzO8fO"
    "RrdVLdF6d_-4Q=OkF<mNw-!(PqR?N{*74N(-=|p5{XgOteD)H(G})}gbZh*sn>KMrGiL5fVdguxQA5wSt^eeDyG^qT7XG+i>J;7s"
    "iW4V=CI7SJr`T(zsJ+_%Z_^<@*#iK={Mq9"
)
#: 5712 x 4284, as phones make, in one colour.
MP24 = _file(
    "c-muNV30{GsVvAy%}izhg51nBLl8SRGck>UfiW^SwIq=N0u(b+a*CjAhJwuG5(YG&l$nzcHpIn&fe{FSfUy=rGcbtd0SV>I%)B%("
    "7bGeQ<fJk|c^PHNh9D+iL1sxVT*=MMf}#Q-y(_aIIUh(@1C=>5GJ}LBfE8`|!0_kqj~@&S{LBeJ9TE<VJdFSUgA_1>R4{|kmR(E^"
    "i9ks`Cq_mznFS1+IvAYU??tavS+;WrM}~m{P?#A+FeoMgwXnM|9xU3B<N&luI5|J3C@(pu0w~POz}5g163HwsNQHVYfPq0^50D{H"
    "kXexl5@F`x-~dwMnFYD95CjGaOCu9A3s8AkZb~9B0L8L27}v81D9*QC_4Rew%AloQB`+^8_nT`)G-dIp(&F|1Pc}B2YJVKbe<M8e"
    ";vKHUq%^1psfMBsEPwHiE#aswwGC!wsCJmlYjS}4<}#JFQ{PY^5}ZI2W7($A#Mt`{G%%Lcg$9O7&>~#D9B5!@KMlf^(V7N1ppW`y"
    "GB*v4q|bSS`eyQ-puU+RG)VPQ0n|5BS%LayYSX|>LmHTAw}AR)deWfA3!_0{mp}tE3us_wxdSa)Ce$~R7InuI8ko7124*gxfthP)"
    "VCIq`VkRy8zGBqOQ8NdznOjHA95r*)%uzE(%^Wpz)J&q$wgv!dOwg<"
)
#: 8160 x 6144, in one colour.
MP50 = _file(
    "c-rmPPe>F|7y$6^&1~Bst_oYUNF@G25+qje(7|9RFCIG-1Ri#F++iQ=>^|0M{~*G4D#Jr$1QCdM=~f|K5(EW}=+;G0JcK7viRch}"
    "FxKzwZXUdJ3BSPao5#HGy?HY~=3{xx0>D)-D64czx`5$JZ%F69bUXm@z)uAZG@?5_k;yl6P|^+HRP@M9uKtiw8w4I0V!F`-49?=I"
    "SIVqcAL`l5I7k`IQM%v`>9kGBz&}~CB~@NwzbuuT!+r{v-4UjqdRAYw@&k^3SE~T+W&-bs*`ig{YI=dGSD3o3EE~3i7jN7a;?$J|"
    "s9BJ>@N$1_;BD6EY_;_4XMM8lB;ImyRIKISCvB9XZZ4D0x|tGAM<86msY`NFr5dl-^$j4VlMW?IQYWTm;nU!XRQ{g|Vo^em3^Rn)"
    "c;QbtSir$2*TuU~N8Fm3Dwj*eVzE$ocoM<Ci^@^?=0WY}$jH)kbv<_&ef4#x#YuY2GMr%(2XFSihZ7sO&YlM2%Uoo5l>mlF>@fw4"
    "ZG4po?pvUNLmz0|YjGNPrb6P1ITF_RMZtz=Nj8l=3N;!(KfA?nf<nDZvLy#Lh5DRiclt=8?oy~CN`c;^Kwnd!TNK}^EflCnfzFfs"
    "4WK|NK3vRx3iLh&O7ZJ8pHiTU=LTJ(KtD0cD5L*9y2&V`j55k7ql_}jD5H!r$|$3ZGRi2Uj55k7qm2Fy-9833)cS="
)
